"""What must not break: damaged and hostile inputs, and kills at random moments, counted by outcome."""
