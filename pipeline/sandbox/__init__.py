"""Simulates WAHA, Resend and Twilio on one loopback port, for demos, tests and trials without an account."""
