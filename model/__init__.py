"""The DenseNet-121 classifier, its bundle format and its class activation maps. No DICOM or SQL here."""
