"""The API's client for Temporal: no other part of the API imports temporalio."""
