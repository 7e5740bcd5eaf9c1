"""Training of label classifiers on shortlists that no learned index gives."""
