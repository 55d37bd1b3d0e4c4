"""The optimization: prepare, plan, step, record, checkpoint."""
