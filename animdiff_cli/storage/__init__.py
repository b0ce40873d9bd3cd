"""Inputs and outputs on URLs of storage systems, such as `s3://bucket/clips/`, through fsspec."""
