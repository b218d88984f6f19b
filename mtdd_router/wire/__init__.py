"""The protocol's messages on either side of the wire: encoding and error tables."""
