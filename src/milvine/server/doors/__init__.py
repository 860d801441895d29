"""What takes calls at an address and gives them to the operations: gRPC twice, and HTTP."""
