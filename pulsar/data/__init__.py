"""The nouns of the program: header, block, series, observation, detections and candidates."""
