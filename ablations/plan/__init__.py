"""What is to be made: tasks, parts, presets, studies and budgets, crossed into complete runs."""
