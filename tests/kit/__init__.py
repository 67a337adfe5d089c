"""What tests share: a recording upstream, the running gateway, a raw client, certificates."""
