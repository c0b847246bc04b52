"""The text model: sentiment, purchase intent and demand spans, Chinese and English."""
