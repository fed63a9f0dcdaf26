"""Coded concepts: what a code is, and the standard's own that our documents use (PS3.16, by the names of pydicom).

pydicom has them too, in a dictionary of 18,000 concepts, which takes a tenth of a second of every process that starts.
A test holds these to it.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """One coded concept (PS3.3 8.8)."""

    value: str
    scheme_designator: str
    meaning: str


class DCM:
    """The standard's own (PS3.16 Annex D)."""

    AlgorithmFamily = Code("111000", "DCM", "Algorithm Family")
    AlgorithmManufacturer = Code("122405", "DCM", "Algorithm Manufacturer")
    AlgorithmName = Code("111001", "DCM", "Algorithm Name")
    AlgorithmParameters = Code("111002", "DCM", "Algorithm Parameters")
    AlgorithmVersion = Code("111003", "DCM", "Algorithm Version")
    AllAlgorithmsSucceededWithFindings = Code("111242", "DCM", "All algorithms succeeded; with findings")
    AllAlgorithmsSucceededWithoutFindings = Code("111241", "DCM", "All algorithms succeeded; without findings")
    ArtificialIntelligence = Code("123110", "DCM", "Artificial Intelligence")
    CADProcessingAndFindingsSummary = Code("111017", "DCM", "CAD Processing and Findings Summary")
    CertaintyOfFinding = Code("111012", "DCM", "Certainty of Finding")
    Comment = Code("121106", "DCM", "Comment")
    Device = Code("121007", "DCM", "Device")
    DeviceObserverManufacturer = Code("121014", "DCM", "Device Observer Manufacturer")
    DeviceObserverModelName = Code("121015", "DCM", "Device Observer Model Name")
    DeviceObserverName = Code("121013", "DCM", "Device Observer Name")
    DeviceObserverSerialNumber = Code("121016", "DCM", "Device Observer Serial Number")
    DeviceObserverUID = Code("121012", "DCM", "Device Observer UID")
    Finding = Code("121071", "DCM", "Finding")
    HorizontalPixelSpacing = Code("111026", "DCM", "Horizontal Pixel Spacing")
    ImageLibrary = Code("111028", "DCM", "Image Library")
    ImageLibraryGroup = Code("126200", "DCM", "Image Library Group")
    ImagingMeasurementReport = Code("126000", "DCM", "Imaging Measurement Report")
    ImagingMeasurements = Code("126010", "DCM", "Imaging Measurements")
    KeyObjectDescription = Code("113012", "DCM", "Key Object Description")
    LanguageOfContentItemAndDescendants = Code("121049", "DCM", "Language of Content Item and Descendants")
    MeasurementGroup = Code("125007", "DCM", "Measurement Group")
    Modality = Code("121139", "DCM", "Modality")
    ObserverType = Code("121005", "DCM", "Observer Type")
    PatientOrientationColumn = Code("111043", "DCM", "Patient Orientation Column")
    PatientOrientationRow = Code("111044", "DCM", "Patient Orientation Row")
    PixelDataColumns = Code("110911", "DCM", "Pixel Data Columns")
    PixelDataRows = Code("110910", "DCM", "Pixel Data Rows")
    PresenceOfProperty = Code("121052", "DCM", "Presence of property")
    ProcedureReported = Code("121058", "DCM", "Procedure reported")
    SourceOfMeasurement = Code("121112", "DCM", "Source of Measurement")
    TrackingIdentifier = Code("112039", "DCM", "Tracking Identifier")
    TrackingUniqueIdentifier = Code("112040", "DCM", "Tracking Unique Identifier")
    VerticalPixelSpacing = Code("111066", "DCM", "Vertical Pixel Spacing")


class SCT:
    """Of SNOMED CT."""

    FindingSite = Code("363698007", "SCT", "Finding Site")


class UCUM:
    """Units of measurement."""

    Millimeter = Code("mm", "UCUM", "mm")
    Percent = Code("%", "UCUM", "Percent")
