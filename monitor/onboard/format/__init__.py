"""Detects the format of an unknown topic's messages for the decoder; the door is `recognise.recognise`."""
