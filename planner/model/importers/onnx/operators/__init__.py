"""How each of ONNX's operators is said in ATen's: a table for every family."""
