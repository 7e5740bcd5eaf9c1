"""The tables and figures of the ELIAS paper, made on any data set."""
