"""`affectstream bench soak`: the service under faults for a long time, and what it lost."""
