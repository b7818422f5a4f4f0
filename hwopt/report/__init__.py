"""Output for users: tables, figures and progress. Values are in SI units and are formatted here."""
