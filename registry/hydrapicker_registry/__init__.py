"""The head registry of HydraPicker, on MLflow."""
