"""What a running sale looks like by the minute: streams in, figures and alerts out."""
