"""`li plan`: memory and time of a training, told beforehand."""
