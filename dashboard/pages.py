"""The pages."""

PAGES = (
    ("overview", "Plan", "flag"),
    ("duration", "Time", "schedule"),
    ("money", "Money", "payments"),
    ("power", "Power & carbon", "bolt"),
    ("layouts", "Layouts", "grid_view"),
    ("matters", "What matters", "tune"),
    ("compare", "Compare", "compare_arrows"),
    ("profile", "Profile", "speed"),
    ("trust", "Can I trust it?", "verified"),
)
"""File, title and icon of each page, in the order in which people ask."""
