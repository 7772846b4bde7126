"""Plot sheets and the report page."""
