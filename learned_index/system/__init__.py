"""What the package needs from the machine: memory, threads, versions, places."""
