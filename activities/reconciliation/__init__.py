"""What reconciliation needs: what may be broken, how it stands, and how it is repaired."""
