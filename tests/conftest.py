"""What holds for every test."""

import torch

torch.set_num_threads(1)  # several threads on small nets are slower, and tests run beside brokers
