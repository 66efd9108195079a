"""The HTTP surface: one module per group of operations; state and rules live one level up."""
