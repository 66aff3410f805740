package io.gsonfire;

import com.google.gson.JsonElement;

/** Stands in for gson-fire's interface. */
public interface TypeSelector<T> {
    Class<? extends T> getClassForElement(JsonElement element);
}
