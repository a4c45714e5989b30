//! Floor 3: what a command declares of itself, and the cursor over its arguments.
