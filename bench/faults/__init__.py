"""What goes wrong around a gateway, played on purpose. Each fault tells what was tried, and that nothing was lost."""
