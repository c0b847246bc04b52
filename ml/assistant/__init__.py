"""The customer service assistant: answers by template, answers of the past, or a person."""
