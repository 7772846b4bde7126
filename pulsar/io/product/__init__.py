"""The HDF5 product: schema, writer, reader, provenance."""
