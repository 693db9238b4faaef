"""The paper's study on a registry's models: trainings through the product's own commands, then tables and curves."""
