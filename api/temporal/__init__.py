"""The only part of the API that speaks to Temporal."""
