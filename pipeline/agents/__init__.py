"""The agents: each reads its topic, lets its stage decide, and acts once the decision is committed."""
