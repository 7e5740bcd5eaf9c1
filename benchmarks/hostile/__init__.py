"""What must not break: hostile inputs, and kills at random moments, counted by outcome."""
