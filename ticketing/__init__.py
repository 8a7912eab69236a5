"""What the API, the workflows and the activities share; imports nothing of theirs."""
