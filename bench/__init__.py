"""The benchmark: figures of the gateway beside what people use today. Never asserted in tests, never imported by them
to measure.
"""
