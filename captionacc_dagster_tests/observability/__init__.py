"""What is counted and shown: the metrics, the dashboard, the alerts, and what production runs on."""
