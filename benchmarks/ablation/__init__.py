"""What each part of the model brings: ablations on held-out points."""
