"""Usual names of columns, in lower case and without what is no letter or digit, and words for a value that is none."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TIMES = _words(
    """
    zeit zeitstempel datum datumuhrzeit datumzeit zeitpunkt uhrzeit date dateandtime datetimeutc timestamputc
    timeutc utc utctime localtime ts eventtime sampletime recordtime timestring timestamplocal horodatage fecha
    fechahora data dataora
    """
)
ASSETS = _words(
    """
    asset assetid assetname machine machineid machinename equipment equipmentid equipmentname device deviceid
    devicename unitid unitname unitnumber station stationid stationname pump pumpid turbine turbineid engine
    engineid maschine maschinennummer maschinenid anlage anlagenid aggregat geraet gerät equipo maquina máquina
    """
)
TAGS = _words(
    """
    tag tagname tagid point pointname pointid variable variablename signal signalname parameter channel
    channelname sensor sensorname sensorid measurement metric item itemid itemname node nodeid messstelle
    messgröße messgroesse kanal name varname
    """
)
VALUES = _words(
    """
    value val wert messwert valor valeur varvalue itemvalue
    """
)
QUALITIES = _words(
    """
    quality qualitycode q status statuscode qualität qualitaet güte validity confidence
    """
)
FAULTS = _words(
    """
    bad - -- --- ---- . ? * #n/a #value! error err fault failure offline invalid nodata n.a. badinput commfail
    notconnected notavailable unavailable undefined inf -inf +inf infinity #### ***
    """
)
