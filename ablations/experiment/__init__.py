"""From complete runs to a directory that holds and shows them: trained, evaluated, drawn."""
