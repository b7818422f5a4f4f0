"""What people read: tables, figures and progress. Numbers are SI inside and get their units here."""
