"""What is shown of records: tables as text, many directories as one."""
