"""Parts of a training step on the CPU, and their floors; see ``training_step.py``."""
