package io.gsonfire;

import com.google.gson.GsonBuilder;

/** Stands in for gson-fire, which Debian does not have: makes Gson's own builder. */
public class GsonFireBuilder {
    public <T> GsonFireBuilder registerTypeSelector(Class<T> type, TypeSelector<T> selector) {
        return this;
    }

    public GsonBuilder createGsonBuilder() {
        return new GsonBuilder();
    }
}
