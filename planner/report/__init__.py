"""What a person reads: charts of a plan and the reports made of them. Nothing is computed here."""
