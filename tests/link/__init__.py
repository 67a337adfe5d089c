"""The link between edges and the identity service, over real Unix sockets."""
