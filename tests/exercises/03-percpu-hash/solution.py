def answer(m):
    return {key: (sum(values), values.index(max(values))) for key, values in m.items()}
