"""The api-docs data set: documentation of the installed Python packages, labelled by module."""
