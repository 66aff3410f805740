"""The database: transactions, tables and migrations."""
