"""The code that talks to the world outside this process, and the ports it stands behind."""
