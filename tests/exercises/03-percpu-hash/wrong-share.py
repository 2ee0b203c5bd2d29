# hint: the totals are right, but not the CPUs: give the number of the CPU with the largest value, not the value itself
def answer(m):
    return {key: (sum(values), max(values)) for key, values in m.items()}
