"""Networks beside the served DenseNet-121: backbones, inputs and heads of the source systems, and Grad-CAM."""
